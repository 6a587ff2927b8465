// What the report takes from a shared library of its own.
const char *word(void);
const char *word(void) { return "musl"; }
