"""Models from and for elsewhere: Keras files, the older HDF5 among them."""
