"""The catalogue of methods: each a frozen config that says which view of the data it takes, what it trains and its loss."""
