"""What plug-in packages use of this package beside its public names, by topic. These names stay as they are."""
