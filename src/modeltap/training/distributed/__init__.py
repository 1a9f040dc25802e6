"""Several processes of one machine train one model together: where they meet, who starts them, what they add up."""
