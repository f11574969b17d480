"""Base trees and the series that are put on them."""
