"""Recipe and features → trained network or trees, as a graph; torch and scikit-learn are imported only while it trains."""
