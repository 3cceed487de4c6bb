"""Parts of the tools that make and train the networks of i2v-tiny."""
