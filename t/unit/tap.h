
/*
 * Copyright (C) nginx-livestream contributors
 *
 * Test Anything Protocol for unit tests: prints what prove reads.
 *
 *     tap_ok(a == b, "a is b");
 *     tap_is(n, 3, "three of them");
 *     return tap_done();
 */


#ifndef _TAP_H_INCLUDED_
#define _TAP_H_INCLUDED_


#include <inttypes.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>


static unsigned  tap_count;
static unsigned  tap_failed;


#define tap_ok(cond, ...)                                                    \
    tap_report(!!(cond), __FILE__, __LINE__, __VA_ARGS__)

/* integers */
#define tap_is(got, want, ...)                                               \
    tap_report_int((int64_t) (got), (int64_t) (want), __FILE__, __LINE__,    \
                   __VA_ARGS__)

/* texts; NULL is equal to NULL only */
#define tap_str(got, want, ...)                                              \
    tap_report_str(got, want, __FILE__, __LINE__, __VA_ARGS__)


static inline int
tap_vreport(int ok, const char *file, int line, const char *fmt, va_list args)
{
    printf("%sok %u - ", ok ? "" : "not ", ++tap_count);
    vprintf(fmt, args);
    printf("\n");

    if (!ok) {
        tap_failed++;
        printf("# failed at %s line %d\n", file, line);
    }

    fflush(stdout);

    return ok;
}


__attribute__((format(printf, 4, 5)))
static inline int
tap_report(int ok, const char *file, int line, const char *fmt, ...)
{
    va_list  args;

    va_start(args, fmt);
    tap_vreport(ok, file, line, fmt, args);
    va_end(args);

    return ok;
}


__attribute__((format(printf, 5, 6)))
static inline int
tap_report_int(int64_t got, int64_t want, const char *file, int line,
    const char *fmt, ...)
{
    va_list  args;

    va_start(args, fmt);
    tap_vreport(got == want, file, line, fmt, args);
    va_end(args);

    if (got != want) {
        printf("# got %" PRId64 ", want %" PRId64 "\n", got, want);
    }

    return got == want;
}


__attribute__((format(printf, 5, 6)))
static inline int
tap_report_str(const char *got, const char *want, const char *file, int line,
    const char *fmt, ...)
{
    int      ok;
    va_list  args;

    ok = (got == NULL || want == NULL) ? got == want
                                       : strcmp(got, want) == 0;
    va_start(args, fmt);
    tap_vreport(ok, file, line, fmt, args);
    va_end(args);

    if (!ok) {
        printf("# got \"%s\", want \"%s\"\n", got ? got : "(null)",
               want ? want : "(null)");
    }

    return ok;
}


/* the exit status of main() */
static inline int
tap_done(void)
{
    printf("1..%u\n", tap_count);

    return tap_failed ? 1 : 0;
}


#endif /* _TAP_H_INCLUDED_ */
