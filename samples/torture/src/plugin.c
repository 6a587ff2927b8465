// A plug-in that says its name.
const char *plugin_name(void);
const char *plugin_name(void) { return NAME; }
