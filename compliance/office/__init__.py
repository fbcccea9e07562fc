"""One organisation's compliance office: it decides every act, and enters it before it is done."""
