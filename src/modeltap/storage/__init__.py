"""What lasts: the database with its migrations and repositories, content-addressed artifacts, backups."""
