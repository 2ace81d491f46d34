"""The offline step: good images in, a bundle out. The only home of torch and NNCF."""
