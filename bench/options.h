
/*
 * Copyright (C) nginx-livestream contributors
 *
 * Command lines of the bench tools: a table says each option's name, the
 * member of a structure that it sets and its line of help.
 */


#ifndef _OPTIONS_H_INCLUDED_
#define _OPTIONS_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>


/* 0, or -1 if the value is not what the option takes */
typedef int (*option_set_pt)(void *field, const char *value);


typedef struct {
    const char     *name;       /* without the dashes; NULL ends the table */
    const char     *value;      /* its name in the help; NULL: a switch */
    option_set_pt   set;
    size_t          offset;     /* of the member */
    const char     *help;
} option_t;


int option_flag(void *field, const char *value);        /* int */
int option_number(void *field, const char *value);      /* int64_t */
int option_real(void *field, const char *value);        /* double */
int option_text(void *field, const char *value);        /* const char * */

/*
 * Sets the members that argv speaks of.  Returns the index in argv of the
 * first argument that is no option.  Says on stderr what is wrong and exits
 * with 1 where something is; --help prints usage and the table and exits
 * with 0.
 */
int options_parse(const option_t *table, void *conf, const char *usage,
    int argc, char **argv);


#endif /* _OPTIONS_H_INCLUDED_ */
