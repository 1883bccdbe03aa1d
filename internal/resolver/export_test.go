package resolver

// Expected returns how many servers must say that they don't have an account.
func (c *Client) Expected() int {
	expected, _ := c.expected()
	return expected
}
