"""Result cache: repeat small answers of queries until the published data change."""
