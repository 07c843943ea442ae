"""`curvestop watch`: follows the logs that runs write anyway, reports them to a study, and runs a command at a stop."""
