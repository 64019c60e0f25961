"""The web portal: pages for readers and curators, the queries behind them, and the services that belong to them."""
