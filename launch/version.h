/* version.h - which program this is. */
#ifndef LAUNCH_VERSION_H
#define LAUNCH_VERSION_H

#include <stdio.h>

#define NVFP4_PPL_SCHEMA "nvfp4_ppl/1" /* of the JSON outputs */

const char *version_name(void); /* "0.2.0" */
/* Version, compiler, CPU variants built, libraries. */
void version_print(FILE *to);

#endif
