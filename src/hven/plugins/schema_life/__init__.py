"""The life of schemas: compare them with others, and deliver tables to CDS and AAS."""
