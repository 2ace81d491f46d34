"""From a backbone to the network of a bundle: converted, quantised, guarded."""
