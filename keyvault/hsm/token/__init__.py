"""One PKCS#11 token as the worker sees it; the only importer of ``pkcs11``.

Rules that tokens taught (python-pkcs11 0.10, SoftHSM 2.6.1):

- One anchor session holds the login and is never closed: closing it logs every session of the process out.
- Lane sessions are opened without a PIN and inherit the login. One session, one thread, always.
- A key object belongs to one session; handles are found again by CKA_ID after a session was given up.
- Every mechanism, capability and attribute is explicit (``templates``); no default of the library is trusted.
- Making an object excludes making and finding objects, in all processes on this machine (``lock_file``): SoftHSM
  2.6.1 lets a search read an object that is half written. Signing holds no lock.
- SoftHSM signs a 40-byte "digest" by silently cutting it: lengths are checked here.
"""

from keyvault.hsm.token.library import Token as Token
from keyvault.hsm.token.library import load_library as load_library
from keyvault.hsm.token.library import new_token as new_token
from keyvault.hsm.token.session import Session as Session
from keyvault.hsm.token.transport import Transport as Transport
from keyvault.hsm.token.trials import Trials as Trials
