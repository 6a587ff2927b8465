printf "%s\n" bonjour
