"""What a model is for, one file a task. `catalogue.find_task` also finds those of installed packages."""
