/* nearest.h - the known word that a mistyped one most likely meant. */
#ifndef SPEC_NEAREST_H
#define SPEC_NEAREST_H

/* Edits (insert, delete, replace, swap neighbours; case is half an edit) that turn one word into
 * the other, doubled. Words are compared over their first 64 bytes. */
int word_distance(const char *a, const char *b);

#endif
