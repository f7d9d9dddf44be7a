"""What each host lets in, by nftables on the host itself."""
