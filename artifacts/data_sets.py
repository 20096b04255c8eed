"""The data sets that have a name; any other DATA is a folder of pictures."""

LOCAL = ("mnist", "fashion_mnist", "cifar10")  # those whose files may lie on this machine
NAMED = ("digits", *LOCAL, "crosses_noughts")
