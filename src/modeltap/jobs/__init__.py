"""Who runs a job: the supervisor that starts and watches runners, a runner's lease, and the files of a job."""
