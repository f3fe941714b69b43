"""People in the loop: blinded pairs of answers, a page to rate them on, and what the ratings say of judges."""
