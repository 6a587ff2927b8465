'grüß dich'
