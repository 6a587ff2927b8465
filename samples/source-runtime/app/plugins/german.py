GREETING = "grüß dich"
