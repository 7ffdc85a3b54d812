"""DGX Cloud Lepton."""
