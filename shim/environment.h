#ifndef TM_ENVIRONMENT_H
#define TM_ENVIRONMENT_H

/* "NAME=VALUE" in lines, which stay there: new programs are started without those that are just so. */
void tm_environment_own(const char *lines);

#endif
