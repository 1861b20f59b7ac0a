"""What several tests share: small nets and bundles, files written by hand, the command line."""
