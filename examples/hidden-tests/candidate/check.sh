# What the candidate believes to be the tests.
echo "1 passed"
