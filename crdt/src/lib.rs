//! How concurrent histories merge: dots, clocks, rows and the types folded from them.
