"""The TemPolor Gateway: one container between a company's services and TemPolor's music API."""
