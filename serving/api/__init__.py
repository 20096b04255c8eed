"""The HTTP interface: one blueprint a noun."""
