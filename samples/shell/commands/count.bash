run() { jq --slurp length; }
