"""The portal: pages for people, what they ask of the data, their texts, and the faces that go with them."""
