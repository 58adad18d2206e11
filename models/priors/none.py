"""No prior: the stage make_priors is off."""
