
/*
 * Copyright (C) nginx-livestream contributors
 *
 * Command lines by table: --name, --name value and --name=value.
 */


#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "options.h"


static const option_t *option_find(const option_t *table, const char *name,
    size_t len);
static void options_help(const option_t *table, const char *usage);


int
option_flag(void *field, const char *value)
{
    (void) value;

    *(int *) field = 1;

    return 0;
}


int
option_number(void *field, const char *value)
{
    char       *end;
    long long   n;

    errno = 0;
    n = strtoll(value, &end, 10);

    if (errno || end == value || *end != '\0') {
        return -1;
    }

    *(int64_t *) field = n;

    return 0;
}


int
option_real(void *field, const char *value)
{
    char    *end;
    double   d;

    errno = 0;
    d = strtod(value, &end);

    if (errno || end == value || *end != '\0') {
        return -1;
    }

    *(double *) field = d;

    return 0;
}


int
option_text(void *field, const char *value)
{
    *(const char **) field = value;

    return 0;
}


int
options_parse(const option_t *table, void *conf, const char *usage, int argc,
    char **argv)
{
    int              i;
    size_t           len;
    const char      *arg, *value;
    const option_t  *o;

    for (i = 1; i < argc; i++) {
        arg = argv[i];

        if (strncmp(arg, "--", 2) != 0) {
            break;
        }

        arg += 2;
        len = strcspn(arg, "=");
        value = arg[len] ? arg + len + 1 : NULL;

        if (strcmp(arg, "help") == 0) {
            options_help(table, usage);
            exit(0);
        }

        o = option_find(table, arg, len);

        if (o == NULL) {
            fprintf(stderr, "unknown option --%s, see --help\n", arg);
            exit(1);
        }

        if (o->value && value == NULL && i + 1 < argc) {
            value = argv[++i];
        }

        if ((o->value == NULL) != (value == NULL)
            || o->set((char *) conf + o->offset, value) != 0)
        {
            fprintf(stderr, "--%s: %s\n", o->name,
                    o->value ? o->value : "takes no value");
            exit(1);
        }
    }

    return i;
}


static const option_t *
option_find(const option_t *table, const char *name, size_t len)
{
    for ( /* void */ ; table->name; table++) {
        if (strlen(table->name) == len && memcmp(table->name, name, len) == 0)
        {
            return table;
        }
    }

    return NULL;
}


static void
options_help(const option_t *table, const char *usage)
{
    char  left[32];

    printf("usage: %s\n\n", usage);

    for ( /* void */ ; table->name; table++) {
        snprintf(left, sizeof(left), "--%s %s", table->name,
                 table->value ? table->value : "");
        printf("  %-26s %s\n", left, table->help);
    }
}
