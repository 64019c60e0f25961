"""UWS jobs: state machine, runner, schedules. Built in *TAP*."""
