"""Load scenarios for ghz (github.com/bojand/ghz): one JSON file each, data generated. What they mean: docs/ghz.md."""
