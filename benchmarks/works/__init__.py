"""What is measured: `push` what a delivery, a handshake and an open socket cost, `rows` what the app does beyond that, `writer`
what the caller pays."""
