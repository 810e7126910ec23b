
/*
 * Copyright (C) nginx-livestream contributors
 *
 * Runs a fuzzer's corpus through it without a fuzzing engine, so that any
 * compiler will do, and prints TAP: an input that does harm ends the program
 * before its plan.  Arguments, files, replace the corpus that it was built
 * for.
 */


#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


/* 0, or -1 if the file cannot be read */

static int
replay(const char *name)
{
    long      len;
    FILE     *file;
    size_t    n;
    uint8_t  *data;

    file = fopen(name, "rb");

    if (file == NULL) {
        return -1;
    }

    if (fseek(file, 0, SEEK_END) != 0 || (len = ftell(file)) < 0) {
        fclose(file);
        return -1;
    }

    rewind(file);

    data = malloc(len ? len : 1);
    n = data ? fread(data, 1, len, file) : 0;

    fclose(file);

    if (n != (size_t) len) {
        free(data);
        return -1;
    }

    (void) LLVMFuzzerTestOneInput(data, n);

    free(data);

    return 0;
}


/* as an unpredictable order would not help to find a culprit, it is sorted */

static unsigned
replay_corpus(const char *corpus, unsigned *failed)
{
    int              i, n;
    char             name[4096];
    unsigned         run;
    struct dirent  **files;

    run = 0;
    n = scandir(corpus, &files, NULL, alphasort);

    for (i = 0; i < n; i++) {

        if (files[i]->d_name[0] != '.') {
            snprintf(name, sizeof(name), "%s/%s", corpus, files[i]->d_name);
            printf("# %s\n", files[i]->d_name);
            fflush(stdout);

            run++;
            *failed += replay(name) != 0;
        }

        free(files[i]);
    }

    if (n >= 0) {
        free(files);
    }

    return run;
}


int
main(int argc, char **argv)
{
    int       i;
    unsigned  run, failed;

    run = 0;
    failed = 0;

    for (i = 1; i < argc; i++) {
        run++;
        failed += replay(argv[i]) != 0;
    }

    if (argc == 1) {
        run = replay_corpus(CORPUS, &failed);
    }

    printf("%sok 1 - %u inputs do no harm\n", run && !failed ? "" : "not ",
           run);
    printf("1..1\n");

    return run && !failed ? 0 : 1;
}
