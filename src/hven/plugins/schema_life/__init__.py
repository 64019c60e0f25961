"""The life of schemas: compare them with others"""
