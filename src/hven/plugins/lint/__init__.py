"""The validator of TAP, EPN-TAP, ObsCore and HAPI services, which reads public addresses only."""
