/* Not part of picohttpparser: written for this example, in the style of its
 * own test.c. Prints TAP; the exit status is 0 when every check holds. */

#include <stdio.h>
#include <string.h>
#include "picotest/picotest.h"
#include "picohttpparser.h"

static struct phr_header headers[8];
static size_t num_headers;

static void value_is(size_t i, const char *expected)
{
    int same = i < num_headers && headers[i].value_len == strlen(expected) &&
               memcmp(headers[i].value, expected, headers[i].value_len) == 0;

    if (!same && i < num_headers)
        note("expected [%s], got [%.*s]", expected, (int)headers[i].value_len, headers[i].value);
    _ok(same, "%.*s", i < num_headers ? (int)headers[i].name_len : 0, headers[i].name);
}

static void test_request(void)
{
    static const char req[] = "GET / HTTP/1.1\r\n"
                              "Host: example.com  \r\n"
                              "Connection: close\t\r\n"
                              "User-Agent: two words\r\n"
                              "Cookie: \r\n"
                              "\r\n";
    const char *method, *path;
    size_t method_len, path_len;
    int minor_version;

    num_headers = sizeof(headers) / sizeof(headers[0]);
    ok(phr_parse_request(req, sizeof(req) - 1, &method, &method_len, &path, &path_len, &minor_version, headers, &num_headers, 0) ==
       sizeof(req) - 1);
    value_is(0, "example.com");
    value_is(1, "close");
    value_is(2, "two words");
    value_is(3, "");
}

static void test_response(void)
{
    static const char res[] = "HTTP/1.1 200 OK\r\n"
                              "Content-Length: 12 \t\r\n"
                              "Transfer-Encoding: chunked\r\n"
                              "\r\n";
    const char *msg;
    size_t msg_len;
    int minor_version, status;

    num_headers = sizeof(headers) / sizeof(headers[0]);
    ok(phr_parse_response(res, sizeof(res) - 1, &minor_version, &status, &msg, &msg_len, headers, &num_headers, 0) ==
       sizeof(res) - 1);
    value_is(0, "12");
    value_is(1, "chunked");
}

int main(void)
{
    subtest("request", test_request);
    subtest("response", test_response);
    return done_testing();
}
