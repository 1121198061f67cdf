# The tests that count.
failed=0
for case in checks/*.in; do
    if [ "$(sh median.sh <"$case")" = "$(cat "${case%.in}.out")" ]; then
        echo "ok ${case#checks/}"
    else
        echo "not ok ${case#checks/}"
        failed=1
    fi
done
exit $failed
