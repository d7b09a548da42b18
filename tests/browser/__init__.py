"""A package, so that fixtures can have its scope: Playwright's event loop must not outlive these tests."""
