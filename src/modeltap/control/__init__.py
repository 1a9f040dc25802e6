"""Use-cases behind the control API: they check what is asked, then write rows and jobs. No HTTP, no event loop."""
