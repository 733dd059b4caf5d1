"""What sources look like beyond Gaussians: the residual pattern common to all of them."""
