"""What must reach people outside the house: parcels of the outbox, delivered at least once.

delivery    takes due parcels, tries again later, gives up in the end
mail        the only user of aiosmtplib: turns a parcel into a message and sends it
templates   the texts of mails
"""
