"""What each page shows, as plain values for its template: a function of the state and of the URL's query."""
